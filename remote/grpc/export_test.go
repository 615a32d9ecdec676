package grpc

// OpenWith is Open, with other ways to dial.
var OpenWith = open
