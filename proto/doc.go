// Package pb is the wire: the generated code of the .proto files beside it,
// and the constants that a .proto file can't hold. "go run ./scripts/genproto"
// writes the generated code.
package pb

// ErrorDomain is the domain of the google.rpc.ErrorInfo that goes with a
// status of our server.
const ErrorDomain = "fstree"

// ReasonMismatch is the reason in the ErrorInfo of an INVALID_ARGUMENT that
// refuses bytes because they are not the object that they were said to be.
// Its metadata may hold under MetadataGot the digest of what was received.
const (
	ReasonMismatch = "DIGEST_MISMATCH"
	MetadataGot    = "got"
)
