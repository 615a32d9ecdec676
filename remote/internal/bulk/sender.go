package bulk

// sender takes messages to a peer, and measures the way.
type sender struct {
	send     func(*Out) error
	link     *Link
	squeezer *Squeezer
}

func newSender(send func(*Out) error, link *Link, squeeze bool) sender {
	s := sender{send: send, link: link}
	if squeeze {
		s.squeezer = NewSqueezer(link)
	}
	return s
}

// squeezed returns the bytes to send in place of data, and the number of bytes
// in data if they were compressed. It takes data over.
func (s *sender) squeezed(data *Buffer) (toSend *Buffer, plain uint64) {
	if !s.squeezer.Wants() {
		return data, 0
	}
	packed := NewBuffer()
	frame, ok := s.squeezer.Squeeze(packed.Space()[:0], data.bytes)
	if !ok {
		packed.Free()
		return data, 0
	}
	packed.bytes, plain = frame, uint64(data.Len())
	data.Free()
	return packed, plain
}

func (s *sender) sendOut(message *Out) error {
	return s.link.Send(message.Data.Len(), func() error { return s.send(message) })
}
