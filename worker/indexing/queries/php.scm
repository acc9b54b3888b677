; PHP. A namespace without braces holds for what follows it: `@rest`.
(namespace_definition name: (_) @name body: (_)) @definition.namespace
(namespace_definition name: (_) @name !body) @definition.namespace @rest
(class_declaration name: (name) @name) @definition.class
(interface_declaration name: (name) @name) @definition.interface
(trait_declaration name: (name) @name) @definition.trait
(enum_declaration name: (name) @name) @definition.enum
(enum_case name: (name) @name) @definition.constant
(function_definition name: (name) @name) @definition.function
(method_declaration name: (name) @name) @definition.method
(const_declaration (const_element . (name) @name)) @definition.constant
(property_declaration (property_element name: (variable_name (name) @name))) @definition.field
(property_promotion_parameter name: (variable_name (name) @name)) @definition.field

(object_creation_expression [
  (name) @reference.type
  (qualified_name (name) @reference.type)])
(function_call_expression function: [
  (name) @reference.call
  (relative_name (name) @reference.call)
  (qualified_name (name) @reference.call)])
(member_call_expression name: (name) @reference.call)
(nullsafe_member_call_expression name: (name) @reference.call)
(scoped_call_expression name: (name) @reference.call)
(scoped_call_expression scope: [(name) @reference.type (qualified_name (name) @reference.type)])
(scoped_property_access_expression scope: [(name) @reference.type (qualified_name (name) @reference.type)])
(class_constant_access_expression . [(name) @reference.type (qualified_name (name) @reference.type)])
(class_constant_access_expression (_) (name) @reference.capitalised)
(named_type [(name) @reference.type (qualified_name (name) @reference.type)])
(attribute [(name) @reference.type (qualified_name (name) @reference.type)])
(binary_expression operator: "instanceof" right: [(name) @reference.type (qualified_name (name) @reference.type)])
(base_clause [(name) @reference.implementation (qualified_name (name) @reference.implementation)])
(class_interface_clause [(name) @reference.implementation (qualified_name (name) @reference.implementation)])
(use_declaration [(name) @reference.implementation (qualified_name (name) @reference.implementation)])
(argument (name) @reference.capitalised)
(return_statement (name) @reference.capitalised)
(array_element_initializer (name) @reference.capitalised)
(binary_expression (name) @reference.capitalised)
(assignment_expression right: (name) @reference.capitalised)
