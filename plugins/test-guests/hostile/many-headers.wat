;; Sends a dispatch with three million headers, whose names and values are empty.
(module
  (memory (export "memory") 900)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 4096)
  (func (export "octohooks:plugin/transformer@0.1.0#on-message") (param i32) (result i32)
      (i32.store (i32.const 72) (i32.const 2))
      (i32.store (i32.const 76) (i32.const 1024))
      (i32.store (i32.const 80) (i32.const 1))
      (i32.store (i32.const 1072) (i32.const 65536))
      (i32.store (i32.const 1076) (i32.const 3000000))
      i32.const 64))
