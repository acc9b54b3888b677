; What JavaScript and TypeScript have in common.
(function_declaration name: (identifier) @name) @definition.function
(generator_function_declaration name: (identifier) @name) @definition.function
(function_expression name: (identifier) @name) @definition.function
(class_declaration name: (_) @name) @definition.class
(class name: (_) @name) @definition.class
(method_definition name: [(property_identifier) @name (private_property_identifier) @name
                          (string (string_fragment) @name)
                          (computed_property_name (string (string_fragment) @name))]) @definition.method
(variable_declarator name: (identifier) @name value: (class)) @definition.class

(variable_declarator
  name: (identifier) @name
  value: [(arrow_function) (function_expression) (generator_function)]) @definition.function
(program [(lexical_declaration "const" (variable_declarator name: (identifier) @name) @definition.constant)
          (lexical_declaration "let" (variable_declarator name: (identifier) @name) @definition.variable)
          (variable_declaration (variable_declarator name: (identifier) @name) @definition.variable)])
(export_statement
  [(lexical_declaration "const" (variable_declarator name: (identifier) @name) @definition.constant)
   (lexical_declaration "let" (variable_declarator name: (identifier) @name) @definition.variable)
   (variable_declaration (variable_declarator name: (identifier) @name) @definition.variable)])

(assignment_expression
  left: (member_expression
    object: (_) @parent
    property: [(property_identifier) (private_property_identifier)] @name)
  right: [(arrow_function) (function_expression) (generator_function)]) @definition.function
(assignment_expression
  left: (identifier) @name
  right: [(arrow_function) (function_expression) (generator_function)]) @definition.function
(assignment_expression
  left: (subscript_expression object: (_) @parent index: (string (string_fragment) @name))
  right: [(arrow_function) (function_expression) (generator_function)]) @definition.function
(pair
  key: [(property_identifier) @name (string (string_fragment) @name)]
  value: [(arrow_function) (function_expression) (generator_function)]) @definition.method

; References.
; `require` is left out by references.py: it imports.
(call_expression function: (identifier) @reference.call)
(call_expression function: (member_expression
  property: [(property_identifier) (private_property_identifier)] @reference.call))
(new_expression constructor: [(identifier) @reference.type
                              (member_expression property: (property_identifier) @reference.type)])
(decorator [(identifier) @reference.call
            (member_expression property: (property_identifier) @reference.call)])
(member_expression object: (identifier) @reference.capitalised property: (property_identifier) @reference.member)
(arguments (identifier) @reference.capitalised)
(pair value: (identifier) @reference.capitalised)
(array (identifier) @reference.capitalised)
(binary_expression (identifier) @reference.capitalised)
(return_statement (identifier) @reference.capitalised)
(variable_declarator value: (identifier) @reference.capitalised)
(shorthand_property_identifier) @reference.capitalised
