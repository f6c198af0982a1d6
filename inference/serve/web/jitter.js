// The buffer between the network and the loudspeaker: it starts late enough that a late chunk leaves
// no gap, waits longer after a gap, and gives the delay back when nothing was late for a while.

const FIRST_S = 0.06; // a chunk is held back this long before it plays, at the least
const STEP_S = 0.02;
const MOST_S = 0.4;
const CALM_S = 5; // without a gap, before the cushion shrinks by a step
const QUIET = 0.003; // of full scale: samples that nobody misses

export class JitterBuffer {
  constructor(rate, chunkS) {
    this.rate = rate;
    this.chunk = chunkS * rate;
    this.first = FIRST_S * rate;
    this.cushion = this.first;
    this.queue = [];
    this.offset = 0; // already played of the first piece
    this.buffered = 0;
    this.playing = false;
    this.wait = 0; // samples until playing starts
    this.gaps = 0;
    this.dropped = 0;
    this.begin();
  }

  /** Begin a stretch in which the least that waits is measured. */
  begin() {
    this.calm = 0;
    this.least = Infinity;
  }

  add(samples) {
    this.queue.push(samples);
    this.buffered += samples.length;
    // More than a late chunk can explain: the page was paused. Old audio is useless.
    while (this.buffered > this.cushion + 3 * this.chunk && this.queue.length > 1) {
      this.buffered -= this.queue.shift().length - this.offset;
      this.offset = 0;
      this.dropped++;
    }
    if (!this.playing) {
      this.playing = true;
      this.wait = this.cushion;
      this.surplus = 0;
      this.begin();
    }
  }

  /** Fill a block with the next samples, or leave it silent. */
  fill(block) {
    if (this.wait > 0) {
      this.wait -= block.length;
      return;
    }
    if (!this.playing) return;
    for (let i = 0; i < block.length; i++) {
      let sample = this.next();
      while (sample !== null && this.surplus > 0 && Math.abs(sample) < QUIET) {
        this.surplus--;
        sample = this.next();
      }
      if (sample === null) return this.runDry();
      block[i] = sample;
    }
    this.rest(block.length);
  }

  next() {
    if (!this.buffered) return null;
    const sample = this.queue[0][this.offset++];
    this.buffered--;
    if (this.offset === this.queue[0].length) {
      this.queue.shift();
      this.offset = 0;
    }
    return sample;
  }

  runDry() {
    this.playing = false;
    this.gaps++;
    this.cushion = Math.min(this.cushion + STEP_S * this.rate, MOST_S * this.rate);
  }

  /** After a calm while leave out a step of silence, if so much waited at every moment of it. */
  rest(n) {
    this.calm += n;
    this.least = Math.min(this.least, this.buffered);
    if (this.calm < CALM_S * this.rate) return;
    const step = STEP_S * this.rate;
    if (this.least >= this.first + step) this.surplus = step;
    this.cushion = Math.max(this.first, this.cushion - step);
    this.begin();
  }
}
