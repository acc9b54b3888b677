(function_declaration name: (identifier) @name) @definition.function
(method_declaration
  receiver: (parameter_list (parameter_declaration type: [
    (type_identifier) @parent
    (generic_type type: (type_identifier) @parent)
    (pointer_type [(type_identifier) @parent (generic_type type: (type_identifier) @parent)])]))
  name: (field_identifier) @name) @definition.method
(type_spec name: (type_identifier) @name type: (struct_type)) @definition.struct
(type_spec name: (type_identifier) @name type: (interface_type)) @definition.interface
(type_spec name: (type_identifier) @name
  type: [(type_identifier) (qualified_type) (pointer_type) (array_type) (slice_type) (map_type) (channel_type)
         (function_type) (generic_type) (parenthesized_type)]) @definition.type
(type_alias name: (type_identifier) @name) @definition.type
(field_declaration name: (field_identifier) @name) @definition.field
(method_elem name: (field_identifier) @name) @definition.method
(source_file (const_declaration (const_spec name: (identifier) @name) @definition.constant))
(source_file (var_declaration (var_spec name: (identifier) @name) @definition.variable))
(source_file (var_declaration (var_spec_list (var_spec name: (identifier) @name) @definition.variable)))

(call_expression function: [
  (identifier) @reference.call
  (parenthesized_expression (identifier) @reference.call)
  (selector_expression field: (field_identifier) @reference.call)
  (parenthesized_expression (selector_expression field: (field_identifier) @reference.call))])
(call_expression function: (type_instantiation_expression type: (type_identifier) @reference.call))
(struct_type (field_declaration_list (field_declaration !name type: [
  (type_identifier) @reference.implementation
  (qualified_type name: (type_identifier) @reference.implementation)
  (generic_type type: (type_identifier) @reference.implementation)])))
(interface_type (type_elem [(type_identifier) @reference.implementation
                            (qualified_type name: (type_identifier) @reference.implementation)]))
(type_identifier) @reference.type
(argument_list (identifier) @reference.capitalised)
(selector_expression field: (field_identifier) @reference.capitalised)
(return_statement (expression_list (identifier) @reference.capitalised))
(binary_expression (identifier) @reference.capitalised)
(literal_element (identifier) @reference.capitalised)
