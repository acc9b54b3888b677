; C++ beyond C. `a::b::f` is taken apart when the records are built.
(namespace_definition name: (_) @name) @definition.namespace
(class_specifier name: [(type_identifier) @name (template_type name: (type_identifier) @name) (qualified_identifier) @name]
  body: (_)) @definition.class
(struct_specifier name: [(template_type name: (type_identifier) @name) (qualified_identifier) @name]
  body: (_)) @definition.struct
(enum_specifier name: (qualified_identifier) @name body: (_)) @definition.enum
(alias_declaration name: (type_identifier) @name) @definition.type
(type_definition declarator: (reference_declarator (type_identifier) @name)) @definition.type
(concept_definition name: (identifier) @name) @definition.type
(function_definition declarator: (_) @declarator (try_statement)) @definition.function
; `class EXPORT Name : Base {}`: a macro before the name makes the parser see a function without parameters.
(function_definition
  type: [(class_specifier !body) (struct_specifier !body)]
  declarator: (identifier) @name) @definition.class
(declaration_list (declaration declarator: [
  (identifier) @name
  (init_declarator declarator: (identifier) @name)
  (pointer_declarator declarator: (identifier) @name)
  (array_declarator declarator: (identifier) @name)
  (init_declarator declarator: (pointer_declarator declarator: (identifier) @name))
  (init_declarator declarator: (array_declarator declarator: (identifier) @name))
  (init_declarator declarator: (pointer_declarator
    declarator: (array_declarator declarator: (identifier) @name)))]) @definition.variable)

(base_class_clause [
  (type_identifier) @reference.implementation
  (template_type name: (type_identifier) @reference.implementation)
  (qualified_identifier name: (type_identifier) @reference.implementation)
  (qualified_identifier name: (template_type name: (type_identifier) @reference.implementation))
  (qualified_identifier name: (qualified_identifier name: (type_identifier) @reference.implementation))])
(call_expression function: [
  (qualified_identifier name: (identifier) @reference.call)
  (qualified_identifier name: (qualified_identifier name: (identifier) @reference.call))
  (template_function name: (identifier) @reference.call)
  (qualified_identifier name: (template_function name: (identifier) @reference.call))
  (field_expression field: (template_method name: (field_identifier) @reference.call))])
(qualified_identifier scope: (namespace_identifier) @reference.capitalised)
(throw_statement (identifier) @reference.capitalised)
