package main

import (
	"bytes"
	"fmt"
	"strings"
)

func writeConstants(w *bytes.Buffer, p *protocol) {
	w.WriteString("\n// Frame types and marks.\nconst (\n")
	for _, c := range p.Constants {
		if strings.HasPrefix(c.Name, "frame-") && c.Class == "" {
			fmt.Fprintf(w, "%s = %d\n", camel(c.Name), c.Value)
		}
	}
	w.WriteString(")\n\n// Reply codes.\nconst (\n")
	for _, c := range p.Constants {
		if c.isReplyCode() {
			fmt.Fprintf(w, "%s = %d\n", camel(c.Name), c.Value)
		}
	}
	w.WriteString(")\n\n// ReplyName returns the name that begins a reply text, as NOT_FOUND.\n" +
		"func ReplyName(code uint16) string {\nswitch code {\n")
	for _, c := range p.Constants {
		if c.isReplyCode() {
			fmt.Fprintf(w, "case %s: return %q\n", camel(c.Name), strings.ToUpper(strings.ReplaceAll(c.Name, "-", "_")))
		}
	}
	w.WriteString("}\nreturn \"UNKNOWN\"\n}\n\n" +
		"// IsHardError reports whether the code ends the connection and not only the channel.\n" +
		"func IsHardError(code uint16) bool {\nswitch code {\ncase ")
	var hard []string
	for _, c := range p.Constants {
		if c.Class == "hard-error" {
			hard = append(hard, camel(c.Name))
		}
	}
	w.WriteString(strings.Join(hard, ", ") + ": return true\n}\nreturn false\n}\n")
}

func writeIDs(w *bytes.Buffer, methods []*method) {
	w.WriteString("\n// Method ids.\nconst (\n")
	for _, m := range methods {
		fmt.Fprintf(w, "%sID ID = %d<<16 | %d\n", m.goName(), m.class.Index, m.Index)
	}
	w.WriteString(")\n\n// String returns the method's name, as basic.publish.\nfunc (id ID) String() string {\nswitch id {\n")
	for _, m := range methods {
		fmt.Fprintf(w, "case %sID: return %q\n", m.goName(), m.class.Name+"."+m.Name)
	}
	w.WriteString("}\nreturn \"unknown\"\n}\n\n" +
		"// New returns an empty method of the id; nil when there is none.\nfunc New(id ID) Method {\nswitch id {\n")
	for _, m := range methods {
		fmt.Fprintf(w, "case %sID: return new(%s)\n", m.goName(), m.goName())
	}
	w.WriteString("}\nreturn nil\n}\n")
}

func writeMethod(w *bytes.Buffer, m *method) {
	name := m.goName()
	fmt.Fprintf(w, "\n// %s is %s.%s.\ntype %s struct {\n", name, m.class.Name, m.Name, name)
	for _, f := range m.Fields {
		if f.Reserved == "" {
			fmt.Fprintf(w, "%s %s\n", camel(f.Name), m.goType(f))
		}
	}
	fmt.Fprintf(w, "}\n\n// ID returns %sID.\nfunc (m *%s) ID() ID { return %sID }\n", name, name, name)
	writeAppend(w, m)
	writeDecode(w, m)
}

func writeAppend(w *bytes.Buffer, m *method) {
	fmt.Fprintf(w, "\n// Append appends the encoded method to b.\nfunc (m *%s) Append(b []byte) []byte {\n", m.goName())
	fmt.Fprintf(w, "b = binary.BigEndian.AppendUint32(b, uint32(%sID))\n", m.goName())
	for i := 0; i < len(m.Fields); i++ {
		f := m.Fields[i]
		value := "m." + camel(f.Name)
		if f.Reserved != "" {
			value = map[string]string{"shortstr": `""`, "longstr": `""`}[f.Type]
			if value == "" {
				value = "0"
			}
		}
		switch f.Type {
		case "bit":
			var bits []string
			n := 0
			for ; i < len(m.Fields) && m.Fields[i].Type == "bit"; i++ {
				if m.Fields[i].Reserved == "" {
					bits = append(bits, fmt.Sprintf("bit(m.%s, %d)", camel(m.Fields[i].Name), n))
				}
				n++
			}
			i--
			if len(bits) == 0 {
				bits = []string{"0"}
			}
			fmt.Fprintf(w, "b = append(b, %s)\n", strings.Join(bits, "|"))
		case "octet":
			fmt.Fprintf(w, "b = append(b, %s)\n", value)
		case "short":
			fmt.Fprintf(w, "b = binary.BigEndian.AppendUint16(b, %s)\n", value)
		case "long":
			fmt.Fprintf(w, "b = binary.BigEndian.AppendUint32(b, %s)\n", value)
		case "longlong":
			fmt.Fprintf(w, "b = binary.BigEndian.AppendUint64(b, %s)\n", value)
		default:
			fmt.Fprintf(w, "b = append%s(b, %s)\n", camel(f.Type), value)
		}
	}
	w.WriteString("return b\n}\n")
}

func writeDecode(w *bytes.Buffer, m *method) {
	fmt.Fprintf(w, "\n// Decode reads the method's arguments.\nfunc (m *%s) Decode(args []byte) error {\nr := reader{b: args}\n", m.goName())
	for i := 0; i < len(m.Fields); i++ {
		f := m.Fields[i]
		if f.Type == "bit" {
			i += writeBits(w, m.Fields[i:]) - 1
			continue
		}
		read := "r." + f.Type + "()"
		if m.goType(f) == "string" {
			read = "string(" + read + ")"
		}
		if f.Reserved != "" {
			fmt.Fprintf(w, "r.%s()\n", f.Type)
			continue
		}
		fmt.Fprintf(w, "m.%s = %s\n", camel(f.Name), read)
	}
	w.WriteString("return r.end()\n}\n")
}

// writeBits writes the reading of the bits that fields begins with, which share
// an octet, and returns their number.
func writeBits(w *bytes.Buffer, fields []field) (n int) {
	if fields[0].Reserved != "" { // no method mixes reserved bits with others
		w.WriteString("r.octet()\n")
		return 1
	}
	w.WriteString("bits := r.octet()\n")
	for n < len(fields) && fields[n].Type == "bit" {
		fmt.Fprintf(w, "m.%s = bits&(1<<%d) != 0\n", camel(fields[n].Name), n)
		n++
	}
	return n
}
