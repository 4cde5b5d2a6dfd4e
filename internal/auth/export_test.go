package auth

// NobodysHash is what passwords of unknown users are compared with.
const NobodysHash = nobodysHash
