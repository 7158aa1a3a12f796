// What is in the basket, for as long as the tab is there.
const count = document.querySelector(".basket b");
const show = () => (count.textContent = sessionStorage.getItem("basket") ?? "0");
for (const button of document.querySelectorAll("[data-add]"))
  button.addEventListener("click", () => {
    sessionStorage.setItem("basket", String(Number(sessionStorage.getItem("basket") ?? 0) + 1));
    show();
  });
show();
