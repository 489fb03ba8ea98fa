// SPDX-License-Identifier: Apache-2.0

package ingestion

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Envelope is one item of telemetry.
type Envelope struct {
	Ver        json.Number       `json:"ver"`
	Name       string            `json:"name"`
	Time       string            `json:"time"`
	SampleRate *float64          `json:"sampleRate"`
	Seq        string            `json:"seq"`
	IKey       string            `json:"iKey"`
	Tags       map[string]string `json:"tags"`
	Data       struct {
		BaseType string         `json:"baseType"`
		BaseData map[string]any `json:"baseData"` // numbers are json.Number
	} `json:"data"`

	size int // in bytes, as sent
}

// Text returns a field of baseData as text, "" when it is not there.
func (e *Envelope) Text(field string) string {
	if value, ok := e.Data.BaseData[field]; ok && value != nil {
		return fmt.Sprint(value)
	}
	return ""
}

// Properties returns the custom properties.
func (e *Envelope) Properties() map[string]string {
	properties := map[string]string{}
	raw, _ := e.Data.BaseData["properties"].(map[string]any)
	for key, value := range raw {
		properties[key], _ = value.(string) // anything else was refused
	}
	return properties
}

// split cuts a body into the items it holds: the elements of a JSON array, or
// one item a line. An error is of the body as a whole.
func split(body []byte) ([]json.RawMessage, error) {
	body = bytes.TrimSpace(body)
	if len(body) == 0 {
		return nil, errors.New("the body is empty")
	}
	if body[0] == '[' {
		var items []json.RawMessage
		if err := json.Unmarshal(body, &items); err != nil {
			return nil, fmt.Errorf("the body is not a JSON array: %w", err)
		}
		return items, nil
	}
	var items []json.RawMessage
	for line := range bytes.Lines(body) {
		items = append(items, bytes.TrimSpace(line))
	}
	return items, nil
}

func decode(item json.RawMessage) (*Envelope, error) {
	e := &Envelope{size: len(item)}
	decoder := json.NewDecoder(bytes.NewReader(item))
	decoder.UseNumber()
	if err := decoder.Decode(e); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows the envelope")
	}
	return e, nil
}
