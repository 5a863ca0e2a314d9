;; Takes memory until it gets none, before it can be called, and then gives up.
(module
  (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 4096)
  (func (export "octohooks:plugin/transformer@0.1.0#on-message") (param i32) (result i32)
      i32.const 64)
  (func $start
    (loop $again
      (br_if $again (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
    unreachable)
  (start $start))
