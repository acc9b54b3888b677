(call method: (identifier) arguments: (argument_list . (string))) @import
