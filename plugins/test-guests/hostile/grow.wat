;; Takes memory until it gets none, writes on every page, and then gives up.
(module
  (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 4096)
  (func (export "octohooks:plugin/transformer@0.1.0#on-message") (param i32) (result i32)
      (local $page i32)
      (loop $again
        (br_if $again (i32.ne (memory.grow (i32.const 1)) (i32.const -1))))
      (local.set $page (memory.size))
      (loop $again
        (local.set $page (i32.sub (local.get $page) (i32.const 1)))
        (i32.store (i32.mul (local.get $page) (i32.const 65536)) (i32.const 1))
        (br_if $again (local.get $page)))
      unreachable))
