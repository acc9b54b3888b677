; C#. A namespace without braces holds for what follows it: `@rest`.
(namespace_declaration name: (_) @name) @definition.namespace
(file_scoped_namespace_declaration name: (_) @name) @definition.namespace @rest
(class_declaration name: (identifier) @name) @definition.class
(record_declaration name: (identifier) @name) @definition.class
(record_declaration (parameter_list (parameter name: (identifier) @name) @definition.field))
(struct_declaration name: (identifier) @name) @definition.struct
(interface_declaration name: (identifier) @name) @definition.interface
(enum_declaration name: (identifier) @name) @definition.enum
(enum_member_declaration name: (identifier) @name) @definition.constant
(delegate_declaration name: (identifier) @name) @definition.type
(method_declaration name: (identifier) @name) @definition.method
(constructor_declaration name: (identifier) @name) @definition.method
(destructor_declaration name: (identifier) @name) @definition.method
(local_function_statement name: (identifier) @name) @definition.function
(operator_declaration operator: _ @name) @definition.method
(conversion_operator_declaration type: (_) @name) @definition.method
(indexer_declaration "this" @name) @definition.field
(property_declaration name: (identifier) @name) @definition.field
(event_declaration name: (identifier) @name) @definition.field
(field_declaration (variable_declaration (variable_declarator name: (identifier) @name))) @definition.field
(event_field_declaration (variable_declaration (variable_declarator name: (identifier) @name))) @definition.field

(invocation_expression function: [
  (identifier) @reference.call
  (generic_name . (identifier) @reference.call)
  (member_access_expression name: [(identifier) @reference.call (generic_name . (identifier) @reference.call)])
  (conditional_access_expression (member_binding_expression
    name: [(identifier) @reference.call (generic_name . (identifier) @reference.call)]))])
(conditional_access_expression (invocation_expression function: (member_binding_expression
  name: [(identifier) @reference.call (generic_name . (identifier) @reference.call)])))
(member_access_expression expression: (identifier) @reference.capitalised)
(object_creation_expression type: [
  (identifier) @reference.type
  (qualified_name name: (identifier) @reference.type)])
(generic_name . (identifier) @reference.type)
(type_argument_list [(identifier) @reference.type (qualified_name name: (identifier) @reference.type)])
(array_type type: (identifier) @reference.type)
(nullable_type type: (identifier) @reference.type)
(variable_declaration type: [(identifier) @reference.type (qualified_name name: (identifier) @reference.type)])
(parameter type: [(identifier) @reference.type (qualified_name name: (identifier) @reference.type)])
(property_declaration type: [(identifier) @reference.type (qualified_name name: (identifier) @reference.type)])
(method_declaration returns: [(identifier) @reference.type (qualified_name name: (identifier) @reference.type)])
(event_declaration type: (identifier) @reference.type)
(conversion_operator_declaration type: (identifier) @reference.type)
(local_function_statement type: (identifier) @reference.type)
(catch_declaration type: [(identifier) @reference.type (qualified_name name: (identifier) @reference.type)])
(cast_expression type: (identifier) @reference.type)
(typeof_expression type: [(identifier) @reference.type (generic_name . (identifier) @reference.type)])
(as_expression right: (identifier) @reference.type)
(is_expression right: (identifier) @reference.type)
(declaration_pattern type: (identifier) @reference.type)
(constant_pattern (identifier) @reference.capitalised)
(attribute name: [(identifier) @reference.type (qualified_name name: (identifier) @reference.type)])
(type_parameter_constraint type: (identifier) @reference.type)
(base_list [
  (identifier) @reference.implementation
  (qualified_name name: (identifier) @reference.implementation)
  (generic_name . (identifier) @reference.implementation)
  (primary_constructor_base_type type: [(identifier) @reference.implementation
                                        (generic_name . (identifier) @reference.implementation)])])
(argument (identifier) @reference.capitalised)
(return_statement (identifier) @reference.capitalised)
(arrow_expression_clause (identifier) @reference.capitalised)
(binary_expression (identifier) @reference.capitalised)
