// Package house holds no code: its test keeps the house in order. It checks,
// over the whole source tree, who may import whom (the table in
// ARCHITECTURE.md), that the pure machines stay pure, that every package says
// what it is for, and that generated files are what their generator makes.
package house
