"""Answers: header and payload words become the bytes of a body."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from plum_hw.gateware.link.request import COUNT_BITS
from plum_hw.gateware.link.symbols import Mark, Symbol


class Answer(data.Struct):
    """What is answered, and how many words of how many bytes follow."""

    sequence: 8
    status: 8
    words: COUNT_BITS
    word_bytes: 4


class ResponseWriter(wiring.Component):
    """Writes one answer after another.

    One byte a cycle; words are taken as the one before ends, so that their way is hidden.

    Members
    -------
    answer : header of the next answer, taken when the one before has been sent
    words : the words that it announced; the low bytes are sent, lowest first
    o : response bodies
    """

    answer: In(stream.Signature(Answer))
    words: In(stream.Signature(64))
    o: Out(stream.Signature(Symbol))

    def elaborate(self, platform) -> Module:
        m = Module()
        answer = Signal(Answer)
        word = Signal(64)
        left = Signal(4)  # bytes of the word
        out = self.o

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.answer.ready.eq(1)
                m.d.sync += answer.eq(self.answer.payload)
                with m.If(self.answer.valid):
                    m.next = "SEQUENCE"
            with m.State("SEQUENCE"):
                m.d.comb += [out.valid.eq(1), out.payload.data.eq(answer.sequence)]
                with m.If(out.ready):
                    m.next = "STATUS"
            with m.State("STATUS"):
                m.d.comb += [out.valid.eq(1), out.payload.data.eq(answer.status)]
                with m.If(out.ready):
                    m.next = "PAYLOAD"
            with m.State("PAYLOAD"):
                sent = (left != 0) & out.ready
                m.d.comb += [out.valid.eq(left != 0), out.payload.data.eq(word[:8])]
                with m.If(sent):
                    m.d.sync += [word.eq(word >> 8), left.eq(left - 1)]
                with m.If((left == 0) | ((left == 1) & sent)):
                    m.d.comb += self.words.ready.eq(answer.words != 0)
                    with m.If(self.words.valid & self.words.ready):
                        m.d.sync += [
                            word.eq(self.words.payload),
                            left.eq(answer.word_bytes),
                            answer.words.eq(answer.words - 1),
                        ]
                with m.If((left == 0) & (answer.words == 0)):
                    m.d.comb += [out.valid.eq(1), out.payload.mark.eq(Mark.END)]
                    with m.If(out.ready):
                        m.next = "IDLE"
        return m
