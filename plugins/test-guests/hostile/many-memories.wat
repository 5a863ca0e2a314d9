;; Has more memories than a component may.
(module
  (memory 1)
  (memory 1)
  (memory 1)
  (memory 1)
  (memory 1)
  (memory 1)
  (memory 1)
  (memory 1)
  (memory (export "memory") 1)
  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) i32.const 4096)
  (func (export "octohooks:plugin/transformer@0.1.0#on-message") (param i32) (result i32)
      i32.const 64))
