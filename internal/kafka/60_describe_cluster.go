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
	b := kmsg.NewDescribeClusterResponseBroker()
	b.NodeID = s.cfg.NodeID
	b.Host, b.Port = s.advertised(r.conn)
	resp.Brokers = []kmsg.DescribeClusterResponseBroker{b}
	resp.ClusterID, resp.ControllerID = s.cfg.ClusterID, s.cfg.NodeID
	if in.IncludeClusterAuthorizedOperations {
		resp.ClusterAuthorizedOperations = clusterOperations
	}
	return resp
}
