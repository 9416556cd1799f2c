// Package stock is how tests use the stock clients, amqp091-go and franz-go:
// with settings under which they notice quickly that a node is gone and come
// back, and with an ear for what they are refused with.
//
// A refusal has the name that the protocol gives it: "basic.nack",
// "connection.blocked", "506 RESOURCE_ERROR", "NOT_ENOUGH_REPLICAS". What a client library
// makes up when a connection breaks is none.
package stock
