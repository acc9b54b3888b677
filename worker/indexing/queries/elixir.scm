; A definition is a call of `def` and the like; keywords.py tells them from other calls.
(call target: (identifier) @keyword (arguments . (alias) @name)) @definition.keyword
(call target: (identifier) @keyword (arguments . [
  (identifier) @name
  (call target: (identifier) @name)
  (binary_operator left: [(identifier) @name (call target: (identifier) @name)] operator: "when")])) @definition.keyword
(call target: (identifier) @keyword (arguments . (binary_operator left: (identifier) operator: _ @name right: (_)))) @definition.keyword
(call target: (identifier) @keyword (arguments . (string (quoted_content) @name))) @definition.keyword
(unary_operator operator: "@" operand: (call target: (identifier) @keyword.attribute (arguments . (binary_operator left: [
  (identifier) @name
  (call target: (identifier) @name)
  (binary_operator left: [(identifier) @name (call target: (identifier) @name)])])))) @definition.keyword
(unary_operator operator: "@" operand: (call target: (identifier) @name @keyword.constant)) @definition.keyword

(call target: [(identifier) @reference.call (dot right: (identifier) @reference.call)])
(binary_operator operator: "|>" right: (identifier) @reference.call)
(call target: (identifier) @keyword.implements (arguments . (alias) @reference.implementation))
(alias) @reference.type
