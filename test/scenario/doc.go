// Package scenario runs stories about a cluster that are written as text: real
// processes, stock clients, faults, and what must be seen.
//
//	# The node that leads dies. The others go on, and nothing is lost.
//	start 3
//	declare queue orders
//	publish orders 1000
//	kill leader orders
//	publish orders 1000
//	restart it
//	healthy
//	expect lost 0
//
// A scenario is a file in testdata. A line is a command; what follows # is for
// people, and a line that begins with it starts a section, which is timed. A command
// that fails ends the scenario; '!' before it says that it must fail, and
// "[root]" that it is for a machine where that holds. The lines are read by
// rsc.io/script, of whose own commands none is there: the whole language is what
// LANGUAGE.md lists, which is made from this package.
//
// Whatever a scenario publishes is numbered and remembered (package check). "expect
// lost 0" reads what is left in every queue and topic and compares all that was ever
// acknowledged with all that was ever received; it also fails on what was never sent, was
// refused, came unflagged twice, or is at two offsets. A scenario that
// publishes and does not end with it fails.
//
//	go test ./test/scenario -scenarios 'dead-leader' -v
package scenario
