// A page's WebSocket, as a browser has it: says something all the time, and comes again when it is closed.
const [url, key] = process.argv.slice(2);

function open() {
  const socket = new WebSocket(url, { headers: { authorization: `Key ${key}` } });
  let timer;
  socket.onopen = () => {
    console.log("open");
    timer = setInterval(() => socket.send("tick"), 20);
  };
  let last;
  socket.onmessage = (event) => {
    if (event.data !== last) console.log(event.data);
    last = event.data;
  };
  socket.onclose = (event) => {
    clearInterval(timer);
    console.log(`closed ${event.code}`);
    setTimeout(open, 50);
  };
}
open();
