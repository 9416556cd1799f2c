package kafka

import (
	"regexp"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const keyAPIVersions = 18

// unknownAPIVersion answers ApiVersions in a version that is not known, in
// version 0: an error, and the versions of ApiVersions itself to try next
// (KIP-511).
var unknownAPIVersion = api{key: keyAPIVersions, serve: func(s *Server, r *request) {
	a := s.apis[keyAPIVersions]
	resp := &kmsg.ApiVersionsResponse{ErrorCode: codeUnsupportedVersion}
	resp.ApiKeys = []kmsg.ApiVersionsResponseApiKey{{ApiKey: a.key, MinVersion: a.min, MaxVersion: a.max}}
	r.reply(resp)
}}

// softwareName is what KIP-511 allows as a client's name and version.
var softwareName = regexp.MustCompile(`^[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?$`)

// apiVersions advertises exactly the table of apis.
func (s *Server) apiVersions(r *request, in *kmsg.ApiVersionsRequest) kmsg.Response {
	resp := in.ResponseKind().(*kmsg.ApiVersionsResponse)
	if r.version >= 3 && !(softwareName.MatchString(in.ClientSoftwareName) && softwareName.MatchString(in.ClientSoftwareVersion)) {
		resp.ErrorCode = codeInvalidRequest
		return resp
	}
	if r.version >= 5 {
		resp.ErrorCode = s.checkTarget(in)
	}
	for _, a := range s.apis {
		if a != nil {
			resp.ApiKeys = append(resp.ApiKeys, kmsg.ApiVersionsResponseApiKey{
				ApiKey: a.key, MinVersion: a.min, MaxVersion: a.max})
		}
	}
	return resp
}

// checkTarget tells a client that it has reached another node than it means
// to (KIP-1242).
func (s *Server) checkTarget(in *kmsg.ApiVersionsRequest) int16 {
	switch {
	case (in.ClusterID == nil) != (in.NodeID == -1):
		return codeInvalidRequest
	case in.ClusterID != nil && (*in.ClusterID != s.cfg.ClusterID || in.NodeID != s.cfg.NodeID):
		return codeRebootstrapRequired
	}
	return codeNone
}
