; An interface and an enum are classes by the grammar; definitions.py takes the more telling match of a name.
(class_declaration name: (identifier) @name) @definition.class
(class_declaration "interface" name: (identifier) @name) @definition.interface
(class_declaration name: (identifier) @name (enum_class_body)) @definition.enum
(object_declaration name: (identifier) @name) @definition.class
(companion_object name: (identifier) @name) @definition.class
(type_alias type: (identifier) @name) @definition.type
(enum_entry . (modifiers)? . (identifier) @name) @definition.constant
(class_parameter ["val" "var"] (identifier) @name) @definition.field
(function_declaration name: (identifier) @name) @definition.function
; An extension belongs to the type that it extends, unless it stands in a class.
(source_file (function_declaration (user_type . (identifier) @parent) . "." . name: (identifier) @name) @definition.function)
(source_file (property_declaration "val" (variable_declaration . (identifier) @name)) @definition.constant)
(source_file (property_declaration "var" (variable_declaration . (identifier) @name)) @definition.variable)
(class_body (property_declaration (variable_declaration . (identifier) @name)) @definition.field)
(enum_class_body (property_declaration (variable_declaration . (identifier) @name)) @definition.field)

(call_expression . [(identifier) @reference.call (navigation_expression (identifier) @reference.call .)])
(infix_expression (_) . (identifier) @reference.call . (_))
(callable_reference (identifier) @reference.call .)
(constructor_invocation (user_type (identifier) @reference.capitalised))
(delegation_specifier [(user_type (identifier) @reference.implementation . (type_arguments)? .)
                       (constructor_invocation (user_type (identifier) @reference.implementation . (type_arguments)? .))
                       (explicit_delegation (user_type (identifier) @reference.implementation . (type_arguments)? .))])
(user_type (identifier) @reference.capitalised)
(navigation_expression (identifier) @reference.capitalised)
(callable_reference . (identifier) @reference.capitalised)
(value_argument (identifier) @reference.capitalised)
(binary_expression (identifier) @reference.capitalised)
(property_declaration (identifier) @reference.capitalised)
(when_entry (identifier) @reference.capitalised)
(return_expression (identifier) @reference.capitalised)
(function_body (identifier) @reference.capitalised)
(interpolation (identifier) @reference.capitalised)
