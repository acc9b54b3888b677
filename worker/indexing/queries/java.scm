(class_declaration name: (identifier) @name) @definition.class
(record_declaration name: (identifier) @name) @definition.class
(record_declaration parameters: (formal_parameters (formal_parameter name: (identifier) @name) @definition.field))
(interface_declaration name: (identifier) @name) @definition.interface
(annotation_type_declaration name: (identifier) @name) @definition.interface
(enum_declaration name: (identifier) @name) @definition.enum
(enum_constant name: (identifier) @name) @definition.constant
(method_declaration name: (identifier) @name) @definition.method
(constructor_declaration name: (identifier) @name) @definition.method
(compact_constructor_declaration name: (identifier) @name) @definition.method
(annotation_type_element_declaration name: (identifier) @name) @definition.method
(field_declaration declarator: (variable_declarator name: (identifier) @name)) @definition.field
(constant_declaration declarator: (variable_declarator name: (identifier) @name)) @definition.constant

(method_invocation name: (identifier) @reference.call)
(method_invocation object: (identifier) @reference.capitalised)
(method_reference (_) "::" (identifier) @reference.call)
(method_reference . (identifier) @reference.capitalised)
(field_access object: (identifier) @reference.capitalised)
(field_access field: (identifier) @reference.capitalised)
(marker_annotation name: [(identifier) @reference.type (scoped_identifier name: (identifier) @reference.type)])
(annotation name: [(identifier) @reference.type (scoped_identifier name: (identifier) @reference.type)])
(superclass [(type_identifier) @reference.implementation
             (generic_type (type_identifier) @reference.implementation)
             (scoped_type_identifier (type_identifier) @reference.implementation .)])
(type_list [(type_identifier) @reference.implementation
            (generic_type (type_identifier) @reference.implementation)
            (scoped_type_identifier (type_identifier) @reference.implementation .)])
(type_identifier) @reference.type
(argument_list (identifier) @reference.capitalised)
(binary_expression (identifier) @reference.capitalised)
(assignment_expression right: (identifier) @reference.capitalised)
(return_statement (identifier) @reference.capitalised)
