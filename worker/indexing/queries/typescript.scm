(abstract_class_declaration name: (type_identifier) @name) @definition.class
(interface_declaration name: (type_identifier) @name) @definition.interface
(type_alias_declaration name: (type_identifier) @name) @definition.type
(enum_declaration name: (identifier) @name) @definition.enum
(enum_body [(property_identifier) @name @definition.constant
            (enum_assignment name: (property_identifier) @name) @definition.constant])
(internal_module name: [(identifier) (nested_identifier)] @name) @definition.module
(module name: [(identifier) (nested_identifier)] @name) @definition.module
(function_signature name: (identifier) @name) @definition.function
(method_signature name: (property_identifier) @name) @definition.method
(abstract_method_signature name: (property_identifier) @name) @definition.method
(public_field_definition
  name: [(property_identifier) (private_property_identifier)] @name) @definition.field
(public_field_definition
  name: [(property_identifier) (private_property_identifier)] @name
  value: [(arrow_function) (function_expression)]) @definition.method
(interface_body (property_signature name: (property_identifier) @name) @definition.field)
(type_alias_declaration value: (object_type (property_signature name: (property_identifier) @name) @definition.field))
(ambient_declaration
  [(lexical_declaration (variable_declarator name: (identifier) @name) @definition.constant)
   (variable_declaration (variable_declarator name: (identifier) @name) @definition.variable)])
(internal_module body: (statement_block (export_statement
  (lexical_declaration "const" (variable_declarator name: (identifier) @name) @definition.constant))))

(extends_clause value: [(identifier) @reference.implementation
                        (member_expression property: (property_identifier) @reference.implementation)])
(extends_type_clause [(type_identifier) @reference.implementation
                      (generic_type (type_identifier) @reference.implementation)
                      (nested_type_identifier name: (type_identifier) @reference.implementation)])
(implements_clause [(type_identifier) @reference.implementation
                    (generic_type (type_identifier) @reference.implementation)
                    (nested_type_identifier name: (type_identifier) @reference.implementation)])
(type_identifier) @reference.type
(type_query (identifier) @reference.type)
