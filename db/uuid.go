package db

import (
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"
)

// sendUUIDs makes a connection take UUIDs as their sixteen bytes; pgx knows them by their text only, which is slow in bulk.
func sendUUIDs(m *pgtype.Map) {
	encode := func(value any) (pgtype.WrappedEncodePlanNextSetter, any, bool) {
		if u, ok := value.(uuid.UUID); ok {
			return &uuidEncodePlan{}, uuidValue(u), true
		}
		return nil, nil, false
	}
	scan := func(target any) (pgtype.WrappedScanPlanNextSetter, any, bool) {
		if u, ok := target.(*uuid.UUID); ok {
			return &uuidScanPlan{}, (*uuidValue)(u), true
		}
		return nil, nil, false
	}
	m.TryWrapEncodePlanFuncs = append([]pgtype.TryWrapEncodePlanFunc{encode}, m.TryWrapEncodePlanFuncs...)
	m.TryWrapScanPlanFuncs = append([]pgtype.TryWrapScanPlanFunc{scan}, m.TryWrapScanPlanFuncs...)
}

// uuidValue is a UUID in the terms of pgx.
type uuidValue uuid.UUID

// UUIDValue implements pgtype.UUIDValuer.
func (u uuidValue) UUIDValue() (pgtype.UUID, error) { return pgtype.UUID{Bytes: u, Valid: true}, nil }

// ScanUUID implements pgtype.UUIDScanner. NULL is uuid.Nil, as it is for package uuid.
func (u *uuidValue) ScanUUID(v pgtype.UUID) error {
	*u = v.Bytes
	return nil
}

type uuidEncodePlan struct{ next pgtype.EncodePlan }

// SetNext implements pgtype.WrappedEncodePlanNextSetter.
func (p *uuidEncodePlan) SetNext(next pgtype.EncodePlan) { p.next = next }

// Encode implements pgtype.EncodePlan.
func (p *uuidEncodePlan) Encode(value any, buf []byte) ([]byte, error) {
	return p.next.Encode(uuidValue(value.(uuid.UUID)), buf)
}

type uuidScanPlan struct{ next pgtype.ScanPlan }

// SetNext implements pgtype.WrappedScanPlanNextSetter.
func (p *uuidScanPlan) SetNext(next pgtype.ScanPlan) { p.next = next }

// Scan implements pgtype.ScanPlan.
func (p *uuidScanPlan) Scan(src []byte, dst any) error {
	return p.next.Scan(src, (*uuidValue)(dst.(*uuid.UUID)))
}
