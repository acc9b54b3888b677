(struct_item name: (type_identifier) @name) @definition.struct
(union_item name: (type_identifier) @name) @definition.struct
(enum_item name: (type_identifier) @name) @definition.enum
(enum_variant name: (identifier) @name) @definition.constant
(field_declaration name: (field_identifier) @name) @definition.field
(type_item name: (type_identifier) @name) @definition.type
(associated_type name: (type_identifier) @name) @definition.type
(trait_item name: (type_identifier) @name) @definition.trait
(mod_item name: (identifier) @name) @definition.module
(macro_definition name: (identifier) @name) @definition.macro
(function_item name: (identifier) @name) @definition.function
(function_signature_item name: (identifier) @name) @definition.function
(const_item name: (identifier) @name) @definition.constant
(static_item name: (identifier) @name) @definition.variable
(impl_item type: [
  (type_identifier) @name
  (generic_type type: [(type_identifier) @name (scoped_type_identifier name: (type_identifier) @name)])
  (scoped_type_identifier name: (type_identifier) @name)
  (primitive_type) @name
  (reference_type type: [(type_identifier) @name (generic_type type: (type_identifier) @name)])]) @scope

(impl_item trait: [
  (type_identifier) @reference.implementation
  (generic_type type: [(type_identifier) @reference.implementation
                       (scoped_type_identifier name: (type_identifier) @reference.implementation)])
  (scoped_type_identifier name: (type_identifier) @reference.implementation)])
(trait_item bounds: (trait_bounds [(type_identifier) @reference.implementation
                                   (generic_type type: (type_identifier) @reference.implementation)]))
(call_expression function: [
  (identifier) @reference.call
  (scoped_identifier name: (identifier) @reference.call)
  (field_expression field: (field_identifier) @reference.call)
  (generic_function function: [
    (identifier) @reference.call
    (scoped_identifier name: (identifier) @reference.call)
    (field_expression field: (field_identifier) @reference.call)])])
(macro_invocation macro: [(identifier) @reference.call (scoped_identifier name: (identifier) @reference.call)])
; Inside a macro there are only tokens: a name before a parenthesis is taken for a call.
(token_tree (identifier) @reference.call . (token_tree . "("))
(token_tree (identifier) @reference.capitalised)
(type_identifier) @reference.type
(scoped_identifier path: (identifier) @reference.capitalised)
(scoped_identifier name: (identifier) @reference.capitalised)
(arguments (identifier) @reference.capitalised)
(binary_expression (identifier) @reference.capitalised)
(return_expression (identifier) @reference.capitalised)
(field_initializer value: (identifier) @reference.capitalised)
(reference_expression value: (identifier) @reference.capitalised)
(scoped_type_identifier path: (identifier) @reference.capitalised)
(tuple_struct_pattern type: (identifier) @reference.capitalised)
