"""
Compare two bounds on flipped labels
====================================

Smoothing over label noise gives a *margin*: a probability p with which the noisy classifier is
right, at least. Every label that an attacker flips eats a part of it. How many flips does it take
before the answer may turn? The paper [1]_ has two bounds: a simple one through the
Kullback-Leibler divergence, and the best that can be said from p alone. This redraws its Figure
E.3, where each label is noise with probability 0.4.
"""

import matplotlib.pyplot as plt
import numpy as np

from certified_ensembles.certificates import flips_from_margin

NOISE = 0.4

# %%
# A margin that certifies hundreds of flips is so near to 1 that floating point cannot tell it from
# 1. Hence ``flips_from_margin`` takes the logarithm of the error 1 - p, which may be 1e-30, or a
# power of ten with an exponent of minus a million.

BOUNDS = {"tight": "tight\n(Neyman-Pearson)", "kl": "Kullback-Leibler"}


def flips(log_error):
    return {bound: flips_from_margin(log_error, NOISE, bound=bound) for bound in BOUNDS}


for digits in (2, 10, 30):
    tight, kl = (int(r) for r in flips(-digits * np.log(10)).values())
    print(f"1 - p = 1e-{digits:02}: tight {tight:3}, Kullback-Leibler {kl:3} ({kl / tight:.0%})")

# %%
# On the left one reads the margin that a number of flips needs, drawn by its error, because all
# interesting ones are "almost 1". On the right one reads the flips that a margin certifies, for
# margins small enough to be drawn as they are.

exponent = np.linspace(np.log10(0.5), -30, 3001)
margin = np.linspace(0.5, 0.999, 2001)
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 4.2), layout="constrained")
for bound, name in BOUNDS.items():
    many, few = flips(exponent * np.log(10))[bound], flips(np.log1p(-margin))[bound]
    (line,) = left.plot(many, exponent, lw=2)
    x, y = {"tight": (many[1200], -11), "kl": (10, -29)}[bound]
    right.plot(margin, np.maximum(few, 0), lw=2, color=line.get_color(), drawstyle="steps-post")
    left.text(x + 15, y, name, color=line.get_color(), linespacing=1.3)

left.set(xlabel="label flips to certify", ylabel="error that is left to the margin, 1 - p",
         xlim=(0, None), yticks=[0, -10, -20, -30],
         yticklabels=["1", "$10^{-10}$", "$10^{-20}$", "$10^{-30}$"])  # fmt: skip
right.set(xlabel="margin p", ylabel="certified label flips", xlim=(0.5, 1), ylim=(0, None))
left.set_title("The margin that is needed")
right.set_title("The flips that it certifies")
for ax in (left, right):
    ax.grid(alpha=0.15)
    ax.spines[["top", "right"]].set_visible(False)
fig.suptitle("The tight bound certifies about twice as many flips (noise 0.4)")
plt.show()

# %%
# **What this does not show:** how large margins are. They come from the data, through Chernoff's
# inequality, and lose something on the way; where the classifier is a linear smoother, its exact
# radius needs neither margin nor noise, and is larger still.
#
# .. [1] E. Rosenfeld, E. Winston, P. Ravikumar and J. Z. Kolter. Certified Robustness to
#    Label-Flipping Attacks via Randomized Smoothing. ICML 2020.
