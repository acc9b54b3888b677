(call target: (identifier) (arguments . [(alias) (dot)])) @import
