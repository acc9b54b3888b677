; `parent` of what stands in a package clause without braces is nothing: packages are no symbols, as in Java.
(class_definition name: (_) @name) @definition.class
(object_definition name: (_) @name) @definition.class
(trait_definition name: (_) @name) @definition.trait
(enum_definition name: (_) @name) @definition.enum
(package_object name: (_) @name) @definition.module
(simple_enum_case name: (_) @name) @definition.constant
(full_enum_case name: (_) @name) @definition.constant
(type_definition name: (type_identifier) @name) @definition.type
(function_definition name: (_) @name) @definition.function
(function_declaration name: (_) @name) @definition.function
(given_definition name: (_) @name) @definition.constant
; Case classes make a field of every parameter; in other classes `val` and `var` do.
(class_definition "case" class_parameters: (class_parameters (class_parameter name: (identifier) @name)) @definition.field)
(class_parameter ["val" "var"] name: (identifier) @name) @definition.field
; Definitions of val and var; with their kinds the query takes three times as long to compile.
(template_body (_ pattern: [(identifier) @name (identifiers (identifier) @name) (tuple_pattern (identifier) @name)])
  @definition.field)
(template_body [(val_declaration name: (identifier) @name) (var_declaration name: (identifier) @name)] @definition.field)
(enum_body (val_definition pattern: (identifier) @name) @definition.field)
(with_template_body (val_definition pattern: (identifier) @name) @definition.field)
(compilation_unit (val_definition pattern: (identifier) @name) @definition.constant)
(compilation_unit (var_definition pattern: (identifier) @name) @definition.variable)

(call_expression function: [
  (identifier) @reference.call
  (field_expression field: (_) @reference.call)
  (generic_function function: [(identifier) @reference.call (field_expression field: (identifier) @reference.call)])])
(generic_function function: [(identifier) @reference.call (field_expression field: (identifier) @reference.call)])
(infix_expression operator: (identifier) @reference.call)
; Without the field: the grammar gives it to the first type only.
(extends_clause [
  (type_identifier) @reference.implementation
  (generic_type type: [(type_identifier) @reference.implementation
                       (stable_type_identifier (type_identifier) @reference.implementation .)])
  (stable_type_identifier (type_identifier) @reference.implementation .)])
(derives_clause (type_identifier) @reference.implementation)
(type_identifier) @reference.type
(field_expression value: (identifier) @reference.capitalised)
(field_expression field: (identifier) @reference.capitalised)
(stable_identifier (identifier) @reference.capitalised)
(arguments (identifier) @reference.capitalised)
(infix_expression left: (identifier) @reference.capitalised)
(infix_expression right: (identifier) @reference.capitalised)
(case_class_pattern type: (_) @reference.capitalised)
(case_clause pattern: (identifier) @reference.capitalised)
(case_clause body: (identifier) @reference.capitalised)
(function_definition body: (identifier) @reference.capitalised)
(val_definition value: (identifier) @reference.capitalised)
(interpolation (identifier) @reference.capitalised)
