;; A core module: WebAssembly, but not a component. An upload of it is refused.
(module)
