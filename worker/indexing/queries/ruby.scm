; Ruby. `attr_reader`, `define_method`, `Struct.new` and the like are calls, told by their word in keywords.py.
(module name: (_) @name) @definition.module
(class name: (_) @name) @definition.class
(method name: (_) @name) @definition.function
(singleton_method object: [(self) (identifier)] name: (_) @name) @definition.function
(singleton_method object: (constant) @parent name: (_) @name) @definition.function
(alias name: (_) @name) @definition.function
(assignment left: [(constant) (scope_resolution)] @name) @definition.constant
(assignment left: (left_assignment_list (constant) @name)) @definition.constant
(operator_assignment left: (constant) @name) @definition.constant
(call !receiver method: (identifier) @keyword
  arguments: (argument_list [(simple_symbol) @name (string (string_content) @name)])) @definition.keyword
(assignment left: [(constant) (scope_resolution)] @name
  right: (call receiver: (constant) @keyword method: (identifier))) @definition.keyword

(call method: [(identifier) (constant)] @reference.call)
(call !receiver method: (identifier) @keyword.implements
  arguments: (argument_list [(constant) @reference.implementation
                             (scope_resolution name: (constant) @reference.implementation)]))
(superclass [(constant) @reference.implementation (scope_resolution name: (constant) @reference.implementation)])
(constant) @reference.type
