;; Sends half a million dispatches, all of which are there.
(module
  (memory (export "memory") 900)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 4096)
  (func (export "octohooks:plugin/transformer@0.1.0#on-message") (param i32) (result i32)
      (i32.store (i32.const 72) (i32.const 2))
      (i32.store (i32.const 76) (i32.const 65536))
      (i32.store (i32.const 80) (i32.const 500000))
      i32.const 64))
