package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"go.yaml.in/yaml/v3"

	"github.com/decnet/decnet/internal/fault"
)

// maxFileBytes bounds a configuration file; a real one has a few kilobytes.
const maxFileBytes = 1 << 20

// strictYAML is a koanf parser for one flat YAML mapping: it refuses unknown and duplicate keys, nested values and a
// second document, each with its position.
type strictYAML struct{ name string }

// Unmarshal returns the settings of the file, typed. Keys without a value are left out.
func (p strictYAML) Unmarshal(data []byte) (map[string]any, error) {
	if len(data) > maxFileBytes {
		return nil, p.refuse(nil, "", fmt.Sprintf("is larger than %d bytes", maxFileBytes))
	}
	root, err := p.root(data)
	if err != nil || root == nil {
		return map[string]any{}, err
	}
	if root.Kind != yaml.MappingNode {
		return nil, p.refuse(root, "", "must be a mapping of settings")
	}
	return p.settings(root)
}

// Marshal is not supported: files are only read.
func (strictYAML) Marshal(map[string]any) ([]byte, error) {
	return nil, errors.New("configuration files are not written")
}

// root returns the mapping of the only document, nil for an empty file.
func (p strictYAML) root(data []byte) (*yaml.Node, error) {
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, p.refuse(nil, "", "is not YAML: "+printable(err.Error()))
	}
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		return nil, p.refuse(&second, "", "holds more than one document")
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		return nil, nil
	}
	if n := doc.Content[0]; n.Kind != yaml.ScalarNode || n.Tag != "!!null" {
		return n, nil
	}
	return nil, nil
}

func (p strictYAML) settings(root *yaml.Node) (map[string]any, error) {
	out := make(map[string]any, len(root.Content)/2)
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		o, ok := byKey[key.Value]
		if !ok || key.Kind != yaml.ScalarNode {
			return nil, p.refuse(key, printable(key.Value), "is not a setting")
		}
		if _, twice := out[o.key]; twice {
			return nil, p.refuse(key, o.key, "is set twice")
		}
		if value.Kind != yaml.ScalarNode {
			return nil, p.refuse(value, o.key, "must be a single value")
		}
		if value.Tag == "!!null" {
			continue
		}
		v, err := o.parse(value.Value)
		if err != nil {
			return nil, p.refuse(value, o.key, err.Error())
		}
		out[o.key] = v
	}
	return out, nil
}

func (p strictYAML) refuse(at *yaml.Node, key, message string) *fault.Error {
	where := printable(p.name)
	if at != nil && at.Line > 0 {
		where += ":" + strconv.Itoa(at.Line) + ":" + strconv.Itoa(at.Column)
	}
	if key != "" {
		where += ": " + key
	}
	return refuse(where, message)
}
