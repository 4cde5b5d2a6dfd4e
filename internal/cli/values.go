package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
)

// valueHelp explains how configuration is given; it is part of the help of every command that takes some.
const valueHelp = `A value may be given as
  key=value     text; the API turns it into the type of the field
  key:=json     any JSON value, such as a list or a text that begins with @
  key=@file     the content of a file, without the line break at its end
  key=-         read from standard input; on a terminal, asked for without echo
Passwords belong into the last two or into --config-file: a command line is visible to others.`

// values reads configuration from flags. Standard input can be used once, but for questions on a terminal.
type values struct {
	app       *app
	stdinUsed bool
}

// file reads the JSON object of --config-file; no name is an empty object. Numbers keep their digits.
func (v *values) file(name string) (map[string]any, error) {
	if name == "" {
		return map[string]any{}, nil
	}
	content, err := v.read(name)
	if err != nil {
		return nil, usagef("--config-file: %w", err)
	}
	var object map[string]any
	if err := decodeJSON(content, &object); err != nil || object == nil {
		return nil, usagef("--config-file: %s must hold one JSON object", Clean(name))
	}
	return object, nil
}

// apply sets the key=value settings in config, over what is there.
func (v *values) apply(config map[string]any, settings []string) error {
	seen := map[string]bool{}
	for _, s := range settings {
		key, text, err := splitSetting(s)
		if err != nil {
			return err
		}
		if seen[key] {
			return usagef("--config %s is given twice; for a list write %s:='[\"a\",\"b\"]'", Clean(key), Clean(key))
		}
		seen[key] = true
		if config[key], err = v.value(key, text); err != nil {
			return usagef("--config %s: %w", Clean(key), err)
		}
	}
	return nil
}

// setting is the part behind the key.
type setting struct {
	text string
	json bool
}

func splitSetting(s string) (string, setting, error) {
	key, value, ok := strings.Cut(s, "=")
	name, isJSON := strings.CutSuffix(key, ":")
	if !ok || name == "" {
		return "", setting{}, usagef("--config must be key=value or key:=json") // the text may be a secret
	}
	return name, setting{text: value, json: isJSON}, nil
}

func (v *values) value(key string, s setting) (any, error) {
	switch {
	case s.json:
		var value any
		if err := decodeJSON([]byte(s.text), &value); err != nil {
			return nil, errors.New("must be JSON behind :=")
		}
		return value, nil
	case s.text == "-":
		return v.ask(key)
	case strings.HasPrefix(s.text, "@"):
		content, err := v.read(s.text[1:])
		return trimLineBreak(content), err
	}
	return s.text, nil
}

// ask reads a value from standard input.
func (v *values) ask(key string) (string, error) {
	if v.app.env.isTerminal(v.app.env.Stdin) {
		return v.app.askHidden("Value of " + Clean(key))
	}
	content, err := v.read("-")
	return trimLineBreak(content), err
}

func (v *values) read(name string) ([]byte, error) {
	if name == "-" {
		if v.stdinUsed {
			return nil, errors.New("standard input can be read only once")
		}
		v.stdinUsed = true
	}
	return v.app.readInput(name)
}

func trimLineBreak(b []byte) string {
	return strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
}

// decodeJSON reads exactly one JSON value.
func decodeJSON(content []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(content))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one JSON value")
	}
	return nil
}

// serviceConfigs reads the configuration of several services: --config service.key=value over --config-file.
func (v *values) serviceConfigs(file string, settings []string) (map[string]any, error) {
	all, err := v.file(file)
	if err != nil {
		return nil, err
	}
	grouped, order, err := groupSettings(settings)
	if err != nil {
		return nil, err
	}
	for _, service := range order {
		config, ok := all[service].(map[string]any)
		if !ok && all[service] != nil {
			return nil, usagef("--config-file: %s must be an object", Clean(service))
		}
		if !ok {
			config = map[string]any{}
			all[service] = config
		}
		if err := v.apply(config, grouped[service]); err != nil {
			return nil, fmt.Errorf("service %s: %w", Clean(service), err)
		}
	}
	return all, nil
}

// groupSettings splits service.key=value by service and keeps the order of both.
func groupSettings(settings []string) (map[string][]string, []string, error) {
	grouped := map[string][]string{}
	var order []string
	for _, s := range settings {
		service, rest, ok := strings.Cut(s, ".")
		if !ok || service == "" || strings.ContainsAny(service, "=:") {
			return nil, nil, usagef("--config must be service.key=value")
		}
		if grouped[service] == nil {
			order = append(order, service)
		}
		grouped[service] = append(grouped[service], rest)
	}
	return grouped, order, nil
}
