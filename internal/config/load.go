package config

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"

	"github.com/knadh/koanf/providers/confmap"
	kenv "github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/providers/posflag"
	"github.com/knadh/koanf/v2"
	"github.com/spf13/pflag"

	"github.com/decnet/decnet/internal/fault"
)

var (
	errNotNumber = errors.New("must be a whole number")
	errNotBool   = errors.New("must be true or false")
)

// Load merges, from weakest to strongest: defaults, the file named by --config or DECNET_CONFIG, the DECNET_*
// variables of env ("NAME=value", as os.Environ returns them), and the flags of fs that were set. fs may be nil. A
// variable that is set but empty counts as unset. Any error is a fault.Invalid that names each offending setting and
// where it came from, and never a value.
func Load(fs *pflag.FlagSet, env []string) (Config, error) {
	k := koanf.New(".")
	if err := k.Load(confmap.Provider(defaults(), ""), nil); err != nil {
		return Config{}, refuse("defaults", err.Error())
	}
	if err := loadFile(k, configFile(fs, env)); err != nil {
		return Config{}, err
	}
	warnings, err := loadEnv(k, env)
	if err != nil {
		return Config{}, err
	}
	if err := loadFlags(k, fs); err != nil {
		return Config{}, err
	}
	var c Config
	if err := k.UnmarshalWithConf("", &c, koanf.UnmarshalConf{Tag: "yaml"}); err != nil {
		return Config{}, refuse("config", err.Error())
	}
	c.SearchPath, c.Warnings = lookup(env, "PATH"), warnings
	c.derive()
	if err := c.Validate(); err != nil {
		return Config{}, err
	}
	return c, nil
}

func defaults() map[string]any {
	m := make(map[string]any, len(options))
	for _, o := range options {
		m[o.key] = o.def
	}
	return m
}

// derive fills in what depends on other settings and normalises vocabulary.
func (c *Config) derive() {
	if c.ArtifactsRoot == "" {
		c.ArtifactsRoot = filepath.Join(c.DataDir, "artifacts")
	}
	for _, word := range []*string{&c.Runtime, &c.DockerNetwork, &c.LogLevel, &c.LogFormat} {
		*word = strings.ToLower(strings.TrimSpace(*word))
	}
}

func configFile(fs *pflag.FlagSet, env []string) string {
	if fs != nil {
		if f := fs.Lookup(fileFlag); f != nil && f.Changed {
			return f.Value.String()
		}
	}
	return lookup(env, envPrefix+"CONFIG")
}

func loadFile(k *koanf.Koanf, path string) error {
	if path == "" {
		return nil
	}
	if err := k.Load(file.Provider(path), strictYAML{name: path}); err != nil {
		if _, ok := fault.As(err); ok {
			return err
		}
		return refuse(fileFlag, "cannot read the configuration file: "+err.Error())
	}
	return nil
}

// loadEnv merges the variables and returns a warning for each DECNET_* variable that names no setting.
func loadEnv(k *koanf.Koanf, env []string) ([]string, error) {
	var bad problems
	var warnings []string
	transform := func(name, text string) (string, any) {
		o, ok := byEnv[name]
		switch {
		case envAliases[name] == fileFlag, clientEnv[name], text == "":
			return "", nil
		case !ok:
			warnings = append(warnings, "environment variable "+printable(name)+" names no setting")
			return "", nil
		}
		v, err := o.parse(text)
		if err != nil {
			bad.add(name, err.Error())
			return "", nil
		}
		return o.key, v
	}
	provider := kenv.Provider(".", kenv.Opt{Prefix: envPrefix, TransformFunc: transform, EnvironFunc: func() []string { return assignments(env) }})
	if err := k.Load(provider, nil); err != nil {
		return nil, refuse("environment", err.Error())
	}
	slices.Sort(warnings)
	return warnings, bad.err()
}

// assignments drops entries without "=", which the provider would index out of range, and puts canonical names after
// their aliases so that they win.
func assignments(env []string) []string {
	out := make([]string, 0, len(env))
	var canonical []string
	for _, e := range env {
		name, _, ok := strings.Cut(e, "=")
		switch {
		case !ok:
		case envAliases[name] == "":
			canonical = append(canonical, e)
		default:
			out = append(out, e)
		}
	}
	return append(out, canonical...)
}

func loadFlags(k *koanf.Koanf, fs *pflag.FlagSet) error {
	if fs == nil {
		return nil
	}
	set := func(f *pflag.Flag) (string, any) {
		key := strings.ReplaceAll(f.Name, "-", "_")
		o, ok := byKey[key]
		if !ok || o.flag() != f.Name || o.noFlag {
			return "", nil
		}
		return key, posflag.FlagVal(fs, f)
	}
	if err := k.Load(posflag.ProviderWithFlag(fs, ".", nil, set), nil); err != nil {
		return refuse("flags", err.Error())
	}
	return nil
}

func lookup(env []string, name string) string {
	var value string
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			value = v
		}
	}
	return value
}
