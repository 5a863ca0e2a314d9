;; Calls back with a handle that it was never given. Imports `wasi:io/error@0.2.0`.
(module
  (import "wasi:io/error@0.2.0" "[method]error.to-debug-string" (func $text (param i32 i32)))
  (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 4096)
  (func (export "octohooks:plugin/transformer@0.1.0#on-message") (param i32) (result i32)
      (call $text (i32.const 77) (i32.const 128))
      i32.const 64))
