; Definitions. A function whose nearest definition is a class becomes a method when the records are built.
(class_definition name: (identifier) @name) @definition.class
(function_definition name: (identifier) @name) @definition.function
(type_alias_statement left: (type [(identifier) @name (generic_type (identifier) @name)])) @definition.type
(module (expression_statement (assignment left: (identifier) @name) @definition.variable))
(class_definition body: (block (expression_statement (assignment left: (identifier) @name) @definition.field)))

; Calls, decorators included.
(call function: [(identifier) @reference.call (attribute attribute: (identifier) @reference.call)])
(decorator [(identifier) @reference.call (attribute attribute: (identifier) @reference.call)])

; Base classes.
(class_definition superclasses: (argument_list
  [(identifier) @reference.implementation
   (attribute attribute: (identifier) @reference.implementation)
   (subscript value: [(identifier) @reference.implementation
                      (attribute attribute: (identifier) @reference.implementation)])]))

; Annotations. `A | B | C` nests to the left.
(type [(identifier) @reference.type
       (attribute attribute: (identifier) @reference.type)
       (generic_type (identifier) @reference.type)
       (subscript value: (attribute attribute: (identifier) @reference.type))
       (binary_operator [(identifier) @reference.type
                         (attribute attribute: (identifier) @reference.type)
                         (subscript value: (identifier) @reference.type)
                         (binary_operator [(identifier) @reference.type
                                           (attribute attribute: (identifier) @reference.type)
                                           (subscript value: (identifier) @reference.type)
                                           (binary_operator (identifier) @reference.type)])])])

; Exceptions.
(raise_statement . [(identifier) @reference.type (attribute attribute: (identifier) @reference.type)])
(except_clause [(identifier) @reference.type
                (attribute attribute: (identifier) @reference.type)
                (tuple [(identifier) @reference.type (attribute attribute: (identifier) @reference.type)])
                (as_pattern [(identifier) @reference.type
                             (attribute attribute: (identifier) @reference.type)
                             (tuple [(identifier) @reference.type
                                     (attribute attribute: (identifier) @reference.type)])])])

(class_pattern (dotted_name (identifier) @reference.type .))

; Classes and constants used as values; kept when the name is capitalised.
(argument_list (identifier) @reference.capitalised)
(keyword_argument value: (identifier) @reference.capitalised)
(attribute object: (identifier) @reference.capitalised attribute: (identifier) @reference.member)
(comparison_operator (identifier) @reference.capitalised)
(binary_operator (identifier) @reference.capitalised)
(boolean_operator (identifier) @reference.capitalised)
(subscript value: (identifier) @reference.capitalised)
(subscript subscript: (identifier) @reference.capitalised)
(tuple (identifier) @reference.capitalised)
(list (identifier) @reference.capitalised)
(return_statement (identifier) @reference.capitalised)
(assignment right: (identifier) @reference.capitalised)
(for_statement right: (identifier) @reference.capitalised)
(default_parameter value: (identifier) @reference.capitalised)
(typed_default_parameter value: (identifier) @reference.capitalised)
(pair value: (identifier) @reference.capitalised)
