// A single-page app in miniature: pages come and go without a load, and one of them has the chat.
const title = document.querySelector("h1");
for (const link of document.querySelectorAll("nav a"))
  link.addEventListener("click", (e) => {
    e.preventDefault();
    history.pushState(null, "", link.href);
    title.textContent = link.textContent;
    if (link.textContent === "Orders") turnout.mount({ channel: "shop.web" });
    else turnout.unmount();
  });
turnout.mount({ channel: "shop.web" });
