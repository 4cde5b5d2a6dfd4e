package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// credentials is the file of access tokens.
type credentials struct {
	path string
}

// credential is one saved login.
type credential struct {
	AccessToken string `json:"access_token"`
	Username    string `json:"username"`
}

// credentialFile is the form on disk; keys are API addresses.
type credentialFile struct {
	APIs map[string]credential `json:"apis"`
}

func (a *app) credentials() (credentials, error) {
	dir := a.env.lookup("XDG_CONFIG_HOME")
	if !filepath.IsAbs(dir) { // the XDG base directory specification has relative ones ignored
		home := a.env.lookup("HOME")
		if home == "" {
			return credentials{}, errors.New("neither HOME nor XDG_CONFIG_HOME is set: there is no place for an access token, use DECNET_TOKEN")
		}
		dir = filepath.Join(home, ".config")
	}
	return credentials{path: filepath.Join(dir, "decnet", "credentials.json")}, nil
}

// load returns an empty file when there is none.
func (s credentials) load() (credentialFile, error) {
	f := credentialFile{APIs: map[string]credential{}}
	content, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return f, fmt.Errorf("read saved logins: %w", err)
	}
	if err := json.Unmarshal(content, &f); err != nil {
		return f, fmt.Errorf("read saved logins: %s is damaged, remove it and log in again", s.path)
	}
	if f.APIs == nil {
		f.APIs = map[string]credential{}
	}
	return f, nil
}

// change rewrites the file, complete or not at all, readable for its owner only.
func (s credentials) change(apply func(map[string]credential)) error {
	f, err := s.load()
	if err != nil {
		return err
	}
	apply(f.APIs)
	content, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(s.path), 0o700); err != nil {
		return fmt.Errorf("save login: %w", err)
	}
	if err := replaceFile(s.path, append(content, '\n')); err != nil {
		return fmt.Errorf("save login: %w", err)
	}
	return nil
}

// replaceFile relies on CreateTemp making files 0600.
func replaceFile(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".credentials-*")
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// findToken returns the token for base, "" when there is none: flag, environment, saved login.
func (a *app) findToken(base string) (string, error) {
	if a.flags.token != "" {
		return a.flags.token, nil
	}
	if v := a.env.lookup("DECNET_TOKEN"); v != "" {
		return v, nil
	}
	store, err := a.credentials()
	if err != nil {
		return "", nil //nolint:nilerr // no place for saved logins means there are none
	}
	f, err := store.load()
	return f.APIs[base].AccessToken, err
}
