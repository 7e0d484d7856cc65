"""Files that Slicer 5.12 wrote (vtkMRMLTransformStorageNode), packed: zlib, base 85."""

from __future__ import annotations

import base64
import zlib


def unpacked(text: str) -> bytes:
    """Return the bytes of a file below."""
    return zlib.decompress(base64.b85decode(text))


# A grid of 2 x 2 x 2 nodes, 100 mm apart, that moves by RAS (10, 5, 1) mm; a thin-plate spline of five landmarks.
GRID_FROM_PARENT_H5 = (
    "c-rgqaB<`1lHy|G;9!7(|4^_%5yCfsinmmUp78f@31U*n(B#fW#uZFL$QogQi;01efq_kw0Z4IqhIogi78Pga=N*Qc2bBQ204i~x"
    "5h5WVz`*c~6~eY+K!_Pb#T4L9mHM{e64*(K=uTo_WE5dwU}6LUs9G4!EW*Gj3FHVcKrlp{gMk(3T4p8=pih_?8K9vd0JCTV!;k~d"
    "c}_f|Mc4>P4E?a#X*=N>Ey6}&7=%s#(PtjC2pfZ85H^oO_AvN6dw8>nfc(hm9}F$I#91KnCQDKp$tfavK*li|D6m28@t~fQjf*lj"
    "ft@S}vV+Y(*e@|R^*0l=2$lp1@`V&7<`t*q7v;Ja<(C!&LyOsOfpvGu@r(q>OkTK|A(aKGo1q?KQwGUNz~$UBD^gPe5{rONDglOM"
    "fCQqjKhF+fYcU|DwJXmP@6sY|It+ufc_6pi3mnmMAU_Jj!x#~~Ig${S#j5F3pqfBYEx>^YFn4EvA4a5*U_?>}0;YN<dZs`cntm8$"
    "U<ua6%~T;LGpQ)Cs8XQ}k}0ed4D}3+^bEm~fM$+QW?pFpkcQ?P27V}Qre|oOXJVq8maJQ5W@-*suL`AIGK&jx5|dMNQ}asPGE;L>"
    ";NFZ+$uCXHNsTv-H%1B+3x0-CFbYP&C>RB!U=)mkQ7{Td!6+C7qhJ)E0U4z604B8Y0cL1F9mZ#Y_RC>>kXk~6GeS^%U^HlOMo_^X"
    "I^OQUV8YE{@*ijscyNXbGB^{U08u*u=Exy9I1^>_=`*3QfsR2jNRSXV51?UlU<ilJ`2%tCqd9LBjDk@x3Wf!6z)pLj)6i-w(g8dD"
    "VLyIr2+G?-XceeEA_s<=H~=I28$|"
)

GRID_TO_PARENT_H5 = (
    "c-rgqaB<`1lHy|G;9!7(|4^_%5yCfsinmmUp78f@31U*n(B#fW#uZFL$QogQi;01efq_kw0Z4IqhIogi78Pga=N*Qc2bBQ204i~x"
    "5h5WVz`*c~6~eY+K!_Pb#T4L9mHM{e64*(K=uTo_WE5dwU}6LUs9G4!EW*Gj3FHVcKrlp{gMk(3T4p8=pih_?8K9vd0JCTV!;k~d"
    "c}_f|Mc4>P4E?a#X*=N>Ey6}&7=%s#(PtjC2pfZ85H^oO_AvN6dw8>nfc(hm9}F$I#91KnCQDKp$tfavK*li|D6m28@t~fQjf*lj"
    "ft@S}vV+Y(*e@|R^*0l=2$lp1@`V&7<`t*q7v;Ja<(C!&LyOsOfpvGu@r(q>OkTK|A(aKGo1q?KQwGUNz~$UBD^gPe5{rONDglOM"
    "fCQqjKhF+fYcU|DwJXmP@6sY|It+ufc_6pi3mnmMAU_Jj!x#~~Ig${S#j5F3pqfBYEx>^YFn4EvA4a5*U_?>}0;YN<dZs`cntm8$"
    "U<ua6%~T;LGpQ)Cs8XQ}k}0ed4D}3+^bEm~fM$+QW?pFpkcQ?P27V}Qre|oOXJVq8maJQ5W@-*suLGq$^FW5Dx?~m?<Rm7i=BDPA"
    "xMim1q`-X}pORmil#?279B+&qI0pO-qhJ(_f>AIEM!_f;1*2dTjDk@x3P!;wK<dxK#siqp#s`?8{d5?g1==r%@j+?{4bBKb?Savt"
    "!5KjXd+2z(1A_@SgUNrOMc~01F38|afC5DA1eha-;NVP@&8N?V!Uj49#UMdK*gSxS&4D2tHs=q-$&co|Q7{Td!6+COzyUk$iB3bS"
    "tw;y#^oRZUtsy9H5200{_J|x9YT^Jer5+~"
)

THIN_PLATE_SPLINE_H5 = (
    "c-rgqaB<`1lHy|G;9!7(|4`td2;mz*#eHVqarXCc31U*n(B#fW#uZFL$QogQi;01efq_kw0Z4IqhIogi78Pga=N*Qc2bBQ204i~x"
    "5h5WVz`*c~6~eY+K!_Pb#T4L9mHM{e64*(K=uTo_WE5dwU}6LUs9G4!EW*Gj3FHVcKrlp{gMk(3T4p8=pih_?8K9vd0JCTV!;k~d"
    "c}_f|Mc4>P4E?a#X*=N>Ey6}&7=%s#(PtjC2pfZ85H^oO_AvN6dw8>nfc(hm9}F$I#91KnCQDKp$tfavK*li|D6m28@t~fQjf*lj"
    "ft@S}vV+Y(*e@|R^*0l=2$lp1@`V&7<`t*q7v;Ja<(C!&LyOsOfpvGu@r(q>OkTK|A(aKGo1q?KQwGUNz~$UBD^gPe5{rONDglOM"
    "fCQqjKhF+fYcU|DwJXmP@6sY|It+ufc_6pi3mnmMAU_Jj!x#~~Ig${S#j5F3pqfBYEx>^YFn4EvA4a5*U_?>}0;YN<dZs`cntm8$"
    "U<ua6%~T;LGpQ)Cs8XQ}k}0ed4D}3+^bEm~fM$+QW?pFpkcQ?P27V}Qre|oOXJVq8maJQ5W@-*suL-3?GBWc5auQ2Yg9~yp^HRN2"
    "i}F%);9iYS$uCXHNsTv-H%1E_1Ac~4FbYP&C>RB!U=)mkQ7{Td!6+C7qhJ&u_2*&Z0ZeG)1I*BVI*iW(?U%#&Ahm=BXZX?j`=G%Y"
    "K?Qs0c)J6G2{(huf1pL+!5J>d;7ou5L~RAkkwb8B=Gp9|4qAlGiD3{n8|vy<MswaM7zLwX6buW{fJQ@ko(E9HKkSF{q2h3PD9wSY"
    "zQNrA!u3W|4->~>F9W*0=<bBe<8Z&H1FAYW?EnB-8xLU"
)
