package topology

// Addresses are addresses in the order in which a JSON object names them.
type Addresses []Address

// Op returns the name of the edit.
func (AddLAN) Op() string { return OpAddLAN }

func (AddLAN) apply(*edit) error { return nil }

// Op returns the name of the edit.
func (RemoveLAN) Op() string { return OpRemoveLAN }

func (RemoveLAN) apply(*edit) error { return nil }

// Op returns the name of the edit.
func (UpdateLAN) Op() string { return OpUpdateLAN }

func (UpdateLAN) apply(*edit) error { return nil }

// Op returns the name of the edit.
func (AddDecky) Op() string { return OpAddDecky }

func (AddDecky) apply(*edit) error { return nil }

// Op returns the name of the edit.
func (AttachDecky) Op() string { return OpAttachDecky }

func (AttachDecky) apply(*edit) error { return nil }

// Op returns the name of the edit.
func (DetachDecky) Op() string { return OpDetachDecky }

func (DetachDecky) apply(*edit) error { return nil }

// Op returns the name of the edit.
func (RemoveDecky) Op() string { return OpRemoveDecky }

func (RemoveDecky) apply(*edit) error { return nil }

// Op returns the name of the edit.
func (UpdateDecky) Op() string { return OpUpdateDecky }

func (UpdateDecky) apply(*edit) error { return nil }
