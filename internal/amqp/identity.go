package amqp

import "waybill/internal/record"

// servedVersion is the RabbitMQ release whose behavior is served. Clients
// compare it to decide what they can expect.
const servedVersion = "4.3.0"

func serverProperties(cfg *Config) record.Table {
	return record.Table{
		"capabilities": record.Table{
			"publisher_confirms":           true,
			"exchange_exchange_bindings":   true,
			"basic.nack":                   true,
			"consumer_cancel_notify":       true,
			"connection.blocked":           true,
			"consumer_priorities":          true,
			"authentication_failure_close": true,
			"per_consumer_qos":             true,
			"direct_reply_to":              true,
		},
		"product":         "RabbitMQ",
		"version":         servedVersion,
		"platform":        "Go",
		"cluster_name":    cfg.ClusterName,
		"copyright":       "The Waybill authors",
		"information":     "Waybill speaks as RabbitMQ " + servedVersion + "; Apache-2.0",
		"waybill":         "Waybill",
		"waybill_version": cfg.Version,
	}
}
