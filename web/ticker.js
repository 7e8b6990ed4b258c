// A worker that ticks, because timers of a page in the background are slowed down and a call's picture must go on.

let timer = 0;

self.onmessage = ({ data: perSecond }) => {
  clearInterval(timer);
  if (perSecond > 0) timer = setInterval(() => self.postMessage(0), 1000 / perSecond);
};
