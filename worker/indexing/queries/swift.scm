(class_declaration declaration_kind: "class" name: (type_identifier) @name) @definition.class
(class_declaration declaration_kind: "actor" name: (type_identifier) @name) @definition.class
(class_declaration declaration_kind: "struct" name: (type_identifier) @name) @definition.struct
(class_declaration declaration_kind: "enum" name: (type_identifier) @name) @definition.enum
(class_declaration declaration_kind: "extension" name: (user_type) @name) @scope
(protocol_declaration name: (type_identifier) @name) @definition.interface
(typealias_declaration . (modifiers)? . "typealias" . name: (type_identifier) @name) @definition.type
(associatedtype_declaration name: (type_identifier) @name) @definition.type
(enum_entry name: (simple_identifier) @name) @definition.constant
; By its place and not by its kind, which may be an operator: with kinds the query takes 15 times as long to compile.
(function_declaration "func" . name: _ @name) @definition.function
(protocol_function_declaration "func" . name: _ @name) @definition.method
(init_declaration "init" @name) @definition.method
(deinit_declaration "deinit" @name) @definition.method
(subscript_declaration "subscript" @name) @definition.method
(macro_declaration (simple_identifier) @name) @definition.macro
(protocol_property_declaration name: (pattern bound_identifier: (simple_identifier) @name)) @definition.field
(source_file (property_declaration (value_binding_pattern "let") name: (pattern
  [bound_identifier: (simple_identifier) @name (pattern (simple_identifier) @name)])) @definition.constant)
(source_file (property_declaration (value_binding_pattern "var") name: (pattern
  [bound_identifier: (simple_identifier) @name (pattern (simple_identifier) @name)])) @definition.variable)
(class_body (property_declaration name: (pattern
  [bound_identifier: (simple_identifier) @name (pattern (simple_identifier) @name)])) @definition.field)
(enum_class_body (property_declaration name: (pattern bound_identifier: (simple_identifier) @name)) @definition.field)

(call_expression . [(simple_identifier) @reference.call
                    (navigation_expression suffix: (navigation_suffix suffix: (simple_identifier) @reference.call))
                    (prefix_expression target: (simple_identifier) @reference.call)])
(constructor_expression constructed_type: (user_type (type_identifier) @reference.call .  (type_arguments)? .))
(macro_invocation . (simple_identifier) @reference.call)
(inheritance_specifier
  inherits_from: (user_type (type_identifier) @reference.implementation . (type_arguments)? .))
; Attributes are types to the grammar; they begin with a small letter.
(user_type (type_identifier) @reference.capitalised)
(navigation_expression target: (simple_identifier) @reference.capitalised)
(navigation_suffix suffix: (simple_identifier) @reference.capitalised)
(value_argument value: (simple_identifier) @reference.capitalised)
(type_constraint (inheritance_constraint constrained_type: (identifier (simple_identifier) @reference.capitalised)))
