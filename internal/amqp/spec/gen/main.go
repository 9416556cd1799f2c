// Command gen writes the Go codec of the AMQP methods from the specification.
package main

import (
	"bytes"
	"encoding/xml"
	"flag"
	"fmt"
	"go/format"
	"os"
	"strings"
)

func main() {
	in := flag.String("in", "", "specification, XML")
	out := flag.String("out", "", "Go file to write")
	flag.Parse()
	if err := run(*in, *out); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(in, out string) error {
	src, err := os.ReadFile(in)
	if err != nil {
		return err
	}
	code, err := generate(src)
	if err != nil {
		return fmt.Errorf("%s: %w", in, err)
	}
	return os.WriteFile(out, code, 0o644)
}

type protocol struct {
	Constants []constant `xml:"constant"`
	Domains   []struct {
		Name string `xml:"name,attr"`
		Type string `xml:"type,attr"`
	} `xml:"domain"`
	Classes []class `xml:"class"`
}

type constant struct {
	Name  string `xml:"name,attr"`
	Value int    `xml:"value,attr"`
	Class string `xml:"class,attr"` // soft-error or hard-error
}

func (c constant) isReplyCode() bool { return c.Class != "" || c.Name == "reply-success" }

type class struct {
	Name    string   `xml:"name,attr"`
	Index   int      `xml:"index,attr"`
	Methods []method `xml:"method"`
}

type method struct {
	Name    string  `xml:"name,attr"`
	Index   int     `xml:"index,attr"`
	Content string  `xml:"content,attr"`
	Fields  []field `xml:"field"`

	class *class
}

type field struct {
	Name     string `xml:"name,attr"`
	Domain   string `xml:"domain,attr"`
	Type     string `xml:"type,attr"` // after resolve: the basic type
	Reserved string `xml:"reserved,attr"`
}

// generate returns the formatted Go source for the specification src.
func generate(src []byte) ([]byte, error) {
	var p protocol
	if err := xml.Unmarshal(src, &p); err != nil {
		return nil, err
	}
	p.addAccess()
	methods, err := p.resolve()
	if err != nil {
		return nil, err
	}
	w := &bytes.Buffer{}
	w.WriteString("// Code generated from the AMQP 0-9-1 specification by gen. DO NOT EDIT.\n\n" +
		"package spec\n\nimport (\n\"encoding/binary\"\n\n\"waybill/internal/record\"\n)\n")
	writeConstants(w, &p)
	writeIDs(w, methods)
	for _, m := range methods {
		writeMethod(w, m)
	}
	code, err := format.Source(w.Bytes())
	if err != nil {
		return nil, fmt.Errorf("the generated code does not parse: %w", err)
	}
	return code, nil
}

// addAccess adds the class that the specification dropped and that old clients
// still call: access.request and its answer.
func (p *protocol) addAccess() {
	p.Classes = append(p.Classes, class{Name: "access", Index: 30, Methods: []method{
		{Name: "request", Index: 10, Fields: []field{
			{Name: "realm", Type: "shortstr"}, {Name: "exclusive", Type: "bit"},
			{Name: "passive", Type: "bit"}, {Name: "active", Type: "bit"},
			{Name: "write", Type: "bit"}, {Name: "read", Type: "bit"},
		}},
		{Name: "request-ok", Index: 11, Fields: []field{{Name: "ticket", Type: "short"}}},
	}})
}

// resolve gives every field its basic type and returns all methods.
func (p *protocol) resolve() ([]*method, error) {
	types := map[string]string{}
	for _, d := range p.Domains {
		types[d.Name] = d.Type
	}
	var methods []*method
	for i := range p.Classes {
		c := &p.Classes[i]
		for j := range c.Methods {
			m := &c.Methods[j]
			m.class = c
			for k := range m.Fields {
				f := &m.Fields[k]
				if f.Type == "" {
					f.Type = types[f.Domain]
				}
				if _, ok := goTypes[f.Type]; !ok {
					return nil, fmt.Errorf("%s.%s: field %s has unknown type %q", c.Name, m.Name, f.Name, f.Type)
				}
			}
			methods = append(methods, m)
		}
	}
	return methods, nil
}

var goTypes = map[string]string{
	"bit": "bool", "octet": "uint8", "short": "uint16", "long": "uint32", "longlong": "uint64",
	"shortstr": "string", "longstr": "string", "table": "record.Table",
}

// goType is the Go type of a field of m; see the package comment for why it
// depends on the method.
func (m *method) goType(f field) string {
	if m.Content != "" && goTypes[f.Type] == "string" {
		return "[]byte"
	}
	return goTypes[f.Type]
}

func (m *method) goName() string { return camel(m.class.Name) + camel(m.Name) }

// camel turns reply-code into ReplyCode, class-id into ClassID and open-ok into
// OpenOK.
func camel(name string) string {
	var s strings.Builder
	for part := range strings.SplitSeq(name, "-") {
		if part == "id" || part == "ok" {
			s.WriteString(strings.ToUpper(part))
			continue
		}
		s.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	return strings.ReplaceAll(s.String(), "Nowait", "NoWait")
}
