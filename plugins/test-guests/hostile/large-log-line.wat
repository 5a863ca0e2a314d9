;; Writes a line of its log that is fifty megabytes long.
(module
  (import "octohooks:plugin/log@0.1.0" "write" (func $write (param i32 i32 i32)))
  (memory (export "memory") 900)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 4096)
  (func (export "octohooks:plugin/transformer@0.1.0#on-message") (param i32) (result i32)
      (call $write (i32.const 1) (i32.const 256) (i32.const 50000000))
      i32.const 64))
