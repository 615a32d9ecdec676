// Package pb is the wire: the generated code of the .proto files beside it,
// and the constants that a .proto file can't hold. "go run ./scripts/genproto"
// writes the generated code.
package pb

// ErrorDomain is the domain of the google.rpc.ErrorInfo that goes with a
// status of our server.
const ErrorDomain = "fstree"

// Reasons in the ErrorInfo, where a code alone leaves open what is meant.
const (
	// ReasonMismatch goes with an INVALID_ARGUMENT that refuses bytes because
	// they are not the object that they were said to be. The metadata may hold
	// under MetadataGot the digest of what was received.
	ReasonMismatch = "DIGEST_MISMATCH"
	MetadataGot    = "got"

	// ReasonReadOnly goes with a PERMISSION_DENIED that nobody could avoid: the
	// server takes no objects.
	ReasonReadOnly = "READ_ONLY"
)
