;; A component that exports no transformer. An upload of it is refused.
(component)
