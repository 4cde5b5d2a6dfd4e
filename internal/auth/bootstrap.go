package auth

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/uuid"

	"github.com/decnet/decnet/internal/fault"
)

// UserStore is what Bootstrap needs to keep users.
type UserStore interface {
	CountUsers(ctx context.Context) (int64, error)
	// CreateFirstUser adds the user unless there is one already; then created is false.
	CreateFirstUser(ctx context.Context, u User) (created bool, err error)
	UserByName(ctx context.Context, username string) (User, error)
	SetPassword(ctx context.Context, id uuid.UUID, hash string, mustChange bool) (User, error)
}

// Bootstrap sees to it that an installation has an admin. When there is no user it makes one: with envPassword when that
// is not empty (at least MinPasswordBytes), else with a generated password that must be changed at the first login; that
// one is written to passwordFile (mode 0600) and returned, to be shown once. As long as the admin has not changed a
// generated password, setting envPassword replaces it and removes the file. In all other cases nothing happens.
func Bootstrap(ctx context.Context, store UserStore, username, envPassword, passwordFile string) (generated string, err error) {
	if err := CheckUsername(username); err != nil {
		return "", fmt.Errorf("bootstrap admin: %w", err)
	}
	if envPassword != "" {
		if err := CheckPassword("password", envPassword); err != nil {
			return "", fmt.Errorf("bootstrap admin: %w", err)
		}
	}
	users, err := store.CountUsers(ctx)
	switch {
	case err != nil:
		return "", fmt.Errorf("bootstrap admin: %w", err)
	case users > 0:
		return "", followEnv(ctx, store, username, envPassword, passwordFile)
	case envPassword != "":
		_, err := createAdmin(ctx, store, username, envPassword, false)
		return "", err
	}
	return generateAdmin(ctx, store, username, passwordFile)
}

// generateAdmin writes the password before the user exists: one who crashes in between generates another.
func generateAdmin(ctx context.Context, store UserStore, username, passwordFile string) (string, error) {
	password, err := GeneratePassword()
	if err != nil {
		return "", err
	}
	if err := writeSecret(passwordFile, password); err != nil {
		return "", fmt.Errorf("store the generated password: %w", err)
	}
	created, err := createAdmin(ctx, store, username, password, true)
	if err != nil || !created {
		return "", err
	}
	return password, nil
}

func createAdmin(ctx context.Context, store UserStore, username, password string, mustChange bool) (created bool, err error) {
	hash, err := HashPassword(password)
	if err != nil {
		return false, err
	}
	created, err = store.CreateFirstUser(ctx, User{
		ID: uuid.New(), Username: username, PasswordHash: hash, Role: Admin, MustChangePassword: mustChange,
	})
	if err != nil {
		return false, fmt.Errorf("bootstrap admin: %w", err)
	}
	return created, nil
}

func followEnv(ctx context.Context, store UserStore, username, envPassword, passwordFile string) error {
	if envPassword == "" {
		return nil
	}
	admin, err := store.UserByName(ctx, username)
	if fault.KindOf(err) == fault.NotFound || (err == nil && !admin.MustChangePassword) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("bootstrap admin: %w", err)
	}
	hash, err := HashPassword(envPassword)
	if err != nil {
		return err
	}
	if _, err := store.SetPassword(ctx, admin.ID, hash, false); err != nil {
		return fmt.Errorf("bootstrap admin: %w", err)
	}
	if err := os.Remove(passwordFile); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("remove the replaced password: %w", err)
	}
	return nil
}

// writeSecret replaces a file in one step by one that only its owner can read.
func writeSecret(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".password-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.WriteString(text + "\n")
	if syncErr := f.Sync(); err == nil {
		err = syncErr
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
