package kafka

import "github.com/twmb/franz-go/pkg/kmsg"

// endpointBrokers is the endpoint type of what clients talk to (KIP-919).
const endpointBrokers = 1

func (s *Server) describeCluster(r *request, in *kmsg.DescribeClusterRequest) kmsg.Response {
	resp := in.ResponseKind().(*kmsg.DescribeClusterResponse)
	if r.version >= 1 && in.EndpointType != endpointBrokers {
		err := refuse(codeUnsupportedEndpointType, "only the brokers (endpoint type 1) can be described")
		resp.ErrorCode, resp.ErrorMessage = errorCode(err), errorText(err)
		return resp
	}
	for _, n := range s.nodes(r.conn) {
		b := kmsg.NewDescribeClusterResponseBroker()
		b.NodeID, b.Host, b.Port = n.id, n.host, n.port
		resp.Brokers = append(resp.Brokers, b)
	}
	resp.ClusterID, resp.ControllerID = s.cfg.ClusterID, s.controller()
	if in.IncludeClusterAuthorizedOperations {
		resp.ClusterAuthorizedOperations = clusterOperations
	}
	return resp
}
